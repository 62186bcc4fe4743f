"""A page that translates pictures in the browser: ONNX models and ONNX Runtime Web in a folder of static files."""
