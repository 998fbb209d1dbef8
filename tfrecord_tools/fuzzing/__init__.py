"""What the fuzz program does to small sound inputs, whom it hands them to, and how it judges what comes back."""
