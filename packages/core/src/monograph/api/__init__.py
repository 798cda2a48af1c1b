"""The user's functions: the Python array API standard 2024.12 and what machine learning adds."""
