"""What a student can do, item by item."""
