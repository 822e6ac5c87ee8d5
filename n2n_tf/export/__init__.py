"""SavedModel and TFLite exports, each compared with its network before it counts."""
