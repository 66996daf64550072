"""Export the PyTorch models of the tests by both of PyTorch's exporters; needs ``torch`` and ``onnxscript``.

Run in this folder: ``python make_pytorch.py``.
"""

import onnx
import torch
from torch import nn


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(0.3), nn.MaxPool2d(2),
            nn.Conv2d(4, 8, 3, groups=4), nn.ReLU6(), nn.Upsample(scale_factor=2),
        )  # fmt: skip
        self.fc1, self.norm, self.fc2 = nn.Linear(8 * 6 * 6, 10), nn.BatchNorm1d(10), nn.Linear(10, 3)

    def forward(self, x):
        x = self.body(x)
        y = x.mean((2, 3))
        x = torch.relu(self.norm(self.fc1(x.view(x.size(0), -1))))
        return torch.softmax(self.fc2(x), 1), torch.sigmoid(torch.cat([y, x], 1))


class Series(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv1d(3, 6, 3), nn.BatchNorm1d(6), nn.Linear(8, 5)
        self.pool, self.out = nn.AdaptiveAvgPool1d(1), nn.Linear(6, 2, bias=False)

    def forward(self, x):
        y = torch.tanh(self.fc(nn.functional.elu(self.norm(self.conv(x)))))
        return self.out(torch.flatten(self.pool(y), 1)), (x * x - x).amax(2)


if __name__ == "__main__":
    torch.manual_seed(0)
    for name, model, shape in (("images", Images(), (1, 10, 10)), ("series", Series(), (3, 10))):
        for _ in range(3):
            model(torch.randn(8, *shape))  # statistics of the normalisations
        model.eval()
        rows = torch.randn(2, *shape)
        older = {"dynamo": False, "dynamic_axes": {"x": {0: "n"}}}
        newer = {"dynamo": True, "dynamic_shapes": ({0: torch.export.Dim("n")},), "external_data": False}
        for exporter, options in {"torchscript": older, "dynamo": newer}.items():
            file = f"pytorch_{name}_{exporter}.onnx"
            torch.onnx.export(model, (rows,), file, input_names=["x"], **options)
            exported = onnx.load(file)
            for node in exported.graph.node:
                del node.metadata_props[:]
                node.doc_string = ""
            del exported.graph.metadata_props[:]
            onnx.save(exported, file)
