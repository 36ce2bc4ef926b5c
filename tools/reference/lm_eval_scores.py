"""Scores a local task with lm-eval through a server's /v1/completions, offline.

Usage: lm_eval_scores.py URL FILE
FILE has one JSON object a line: {"context": text, "continuation": text}. Prints a JSON list with one object for each
line, in order: {"sum": log-probability of the continuation, "isGreedy": whether it is what the model would say}.
"""
import json
import logging
import os
import sys
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TRANSFORMERS_OFFLINE="1", OPENAI_API_KEY="")
url, data = sys.argv[1:]
folder = tempfile.TemporaryDirectory()
os.environ["HF_HOME"] = folder.name

import lm_eval  # noqa: E402  (reads the variables above)
from lm_eval.tasks import TaskManager  # noqa: E402

logging.disable(logging.WARNING)
task = {
    "task": "local",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": os.path.abspath(data)}},
    "test_split": "test",
    "output_type": "loglikelihood",
    "doc_to_text": "{{context}}",
    "doc_to_target": "{{continuation}}",
    "target_delimiter": "",
    "metric_list": [{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}],
}
arguments = {
    "model": "default",
    "base_url": f"{url}/v1/completions",
    "tokenizer_backend": "remote",
    "tokenized_requests": False,
    "num_concurrent": 1,
    "max_length": 2048,
}
results = lm_eval.simple_evaluate(
    model="local-completions",
    model_args=arguments,
    tasks=[task],
    task_manager=TaskManager(include_defaults=False),
    batch_size=2,
    log_samples=True,
    bootstrap_iters=0,
)
samples = sorted(results["samples"]["local"], key=lambda sample: sample["doc_id"])
answers = [sample["filtered_resps"][0] for sample in samples]
print(json.dumps([{"sum": total, "isGreedy": greedy} for total, greedy in answers]))
