"""Data structures and array algebra shared by every package of the library. Private: no stability promise."""
