"""Small ONNX models, made node by node."""

import numpy as np


class Graph:
    """An ONNX model in the making; ``node`` returns the name of its first output."""

    def __init__(self, *, opset=17, batch="n"):
        self.nodes, self.constants, self.inputs, self.outputs = [], [], [], []
        self.opset, self.batch = opset, batch
        self.random = np.random.default_rng(7)
        self.domains = set()

    def input(self, name, *shape, dtype=1):
        from onnx import helper

        self.inputs.append(helper.make_tensor_value_info(name, dtype, [self.batch, *shape]))
        return name

    def constant(self, values, name=None, dtype=np.float32):
        from onnx import numpy_helper

        name = name or f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def weights(self, *shape, name=None):
        return self.constant(self.random.normal(size=shape) * 0.5, name)

    def whole(self, *values):
        return self.constant(values, dtype=np.int64)

    def node(self, op, *inputs, name=None, output=None, domain="", **attributes):
        from onnx import helper

        name = name or f"{op}_{len(self.nodes)}"
        output = output or f"{name}_out"
        self.domains.add(domain)
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, domain=domain, **attributes))
        return output

    def model(self, *outputs):
        from onnx import helper

        results = [helper.make_tensor_value_info(name, 1, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "small", self.inputs, results, self.constants)
        imports = [helper.make_opsetid("", self.opset)] + [helper.make_opsetid(d, 1) for d in self.domains if d]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)
