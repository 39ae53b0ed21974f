"""What does the student find surprising?"""
