"""TensorFlow Lite: the interpreter of models, and the Python module around it."""
