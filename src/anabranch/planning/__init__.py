"""What differs and why, and the least work that is enough: pure judgements on plain values."""
