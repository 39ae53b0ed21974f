"""The examples the demo runs on, and a real teacher's replies to them."""
