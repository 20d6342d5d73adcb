"""Other programs in the same benchmark: `encode.py` runs in a Python environment of their own.

Nothing in this folder imports idedup; NumPy, Pillow and what is to be measured are enough.
"""
