"""For maintainers: how a model gets into saved_models/, its figures and its card."""
