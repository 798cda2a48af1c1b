"""Each rival's models, written as its users do. A module per rival has ``MODELS`` and ``build``."""
