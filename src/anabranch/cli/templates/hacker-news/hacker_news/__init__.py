"""What people write on Hacker News."""
