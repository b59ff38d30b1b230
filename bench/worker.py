"""One interpreter in a process of its own: loads a model, answers each line with a time.

`python -I -S worker.py PACKAGES MODEL`: for each line on standard input, one inference of the same
picture; prints its milliseconds. The first line of output names the interpreter.
"""

import sys
import time

sys.path.insert(0, sys.argv[1])

import numpy as np

try:
    from tflite_runtime import interpreter as tflite
except ModuleNotFoundError:
    from ai_edge_litert import interpreter as tflite

interpreter = tflite.Interpreter(model_path=sys.argv[2], num_threads=1)
interpreter.allocate_tensors()
source = interpreter.get_input_details()[0]
picture = (np.arange(np.prod(source["shape"])) * 7919 % 256).reshape(source["shape"])
interpreter.set_tensor(source["index"], picture.astype(source["dtype"]))
for _ in range(3):
    interpreter.invoke()
print(tflite.__name__.partition(".")[0], flush=True)
for _line in sys.stdin:
    began = time.perf_counter()
    interpreter.invoke()
    print((time.perf_counter() - began) * 1000, flush=True)
