"""What a .tflite file and its labels say, and what was decided about them."""
