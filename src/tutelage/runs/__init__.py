"""What was done, from what, with which settings?"""
