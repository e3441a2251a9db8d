"""All flights that left New York City in 2013, and what can be learned of their delays."""
