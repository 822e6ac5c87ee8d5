"""The paper's tables and figures: what is run, running it, showing it beside the paper's."""
