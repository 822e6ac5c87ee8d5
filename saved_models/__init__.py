"""The shipped models, a folder each; README.md lists them."""
