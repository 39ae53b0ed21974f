"""Examples of the demo, and recorded replies of a real teacher to them."""
