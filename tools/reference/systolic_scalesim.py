"""Cycles of matrix products on a systolic array by SCALE-Sim (pip install scalesim==3.0.0 'numpy<2' 'pandas<2.2'), one
JSON object: the expected values of test/unit/cost-systolic.test.ts. Usage: systolic_scalesim.py
"""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

# M, K, N.
SHAPES = [
    (64, 64, 64), (37, 50, 100), (1, 576, 576), (33, 200, 33), (128, 96, 32),
    (16, 300, 48), (5, 7, 9), (100, 64, 200), (31, 31, 31), (96, 160, 64),
]  # fmt: skip
ARRAYS = [(32, 32), (8, 16)]

CONFIG = """[general]
run_name = run
[architecture_presets]
ArrayHeight: {rows}
ArrayWidth: {columns}
IfmapSramSzkB: 1024
FilterSramSzkB: 1024
OfmapSramSzkB: 1024
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Bandwidth: 1000
Dataflow: {dataflow}
MemoryBanks: 1
ReadRequestBuffer: 32
WriteRequestBuffer: 32
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
SparseRep: ellpack_block
OptimizedMapping: false
BlockSize: 8
RandomNumberGeneratorSeed: 40
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""


def cycles(folder: Path, rows: int, columns: int, dataflow: str) -> list[int]:
    config = folder / "array.cfg"
    config.write_text(CONFIG.format(rows=rows, columns=columns, dataflow=dataflow))
    topology = folder / "shapes.csv"
    lines = [f"s{i},{m},{n},{k}," for i, (m, k, n) in enumerate(SHAPES)]
    topology.write_text("\n".join(["Layer,M,N,K,", *lines]) + "\n")
    command = [sys.executable, "-m", "scalesim.scale", "-c", config, "-t", topology, "-l", topology, "-i", "gemm"]
    subprocess.run([*command, "-p", folder / "out"], check=True, capture_output=True)
    with (folder / "out" / "run" / "COMPUTE_REPORT.csv").open() as report:
        return [int(float(row[2])) for row in list(csv.reader(report))[1:]]


def main() -> None:
    results = []
    for rows, columns in ARRAYS:
        for dataflow in ("os", "ws", "is"):
            with tempfile.TemporaryDirectory() as folder:
                found = cycles(Path(folder), rows, columns, dataflow)
            results.append({"rows": rows, "columns": columns, "dataflow": dataflow, "cycles": found})
    print(json.dumps({"shapes": SHAPES, "results": results}))


main()
