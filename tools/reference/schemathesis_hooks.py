"""Hooks of schemathesis: what it makes stays as valid or invalid as it was, but names the model that is served, uses
token ids that its vocabulary has, and asks for few tokens, so that thousands of cases take minutes."""
import schemathesis

VOCABULARY = 256
# Field: the range that the schema allows, and the most that is asked for.
BOUNDS = {"n": (1, 128, 2), "best_of": (0, 20, 3), "min_tokens": (0, 131072, 4)}
LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
LENGTH_MAX = 4


def is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def within_vocabulary(value):
    if isinstance(value, list):
        return [within_vocabulary(item) for item in value]
    return value % VOCABULARY if is_integer(value) and 0 <= value < 2**31 else value


@schemathesis.hook
def map_body(context, body):
    if not isinstance(body, dict):
        return body
    if isinstance(body.get("model"), str):
        body["model"] = "default"
    for name in ("prompt", "tokens", "stop_token_ids"):
        if name in body:
            body[name] = within_vocabulary(body[name])
    for name, (least, most, wanted) in BOUNDS.items():
        value = body.get(name)
        if is_integer(value) and least <= value <= most:
            body[name] = min(value, wanted)
    for name in LENGTHS:
        value = body.get(name, 0)
        # Left out or null, a length may be that of the context.
        if value is None or (is_integer(value) and value >= 0):
            body[name] = min(value or LENGTH_MAX, LENGTH_MAX)
    return body
