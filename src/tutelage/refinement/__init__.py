"""What would the teacher improve, or write?"""
