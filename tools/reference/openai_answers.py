"""What the official Python client reads from answers of a server.

Usage: openai_answers.py URL FILE
FILE is a JSON list of {"endpoint", "body", "isStream"}; prints a JSON list of answers in the form of
test/support/conformance-cases.ts.
"""
import inspect
import json
import sys

import openai

url, path = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)


def create(resource, body):
    """Fields that the client knows are its arguments; the others go along as they are."""
    known = inspect.signature(resource.create).parameters
    arguments = {name: value for name, value in body.items() if name in known}
    rest = {name: value for name, value in body.items() if name not in known}
    return resource.create(**arguments, extra_body=rest)


def joined(so_far, more):
    return so_far if more is None else (so_far or []) + list(more)


def answer_of(drafts, usage):
    ordered = [drafts[index] for index in sorted(drafts)]
    columns = {name: [draft[key] for draft in ordered] for name, key in
               [("texts", "text"), ("reasons", "reason"), ("calls", "calls"), ("tokens", "tokens"), ("ids", "ids")]}
    return {"kind": "answer", **columns, "usage": usage}


def empty_draft():
    return {"text": "", "reason": "", "calls": [], "tokens": None, "ids": None}


def read(piece, drafts):
    for choice in piece.choices:
        draft = drafts.setdefault(choice.index, empty_draft())
        draft["reason"] = choice.finish_reason or draft["reason"]
        draft["ids"] = joined(draft["ids"], getattr(choice, "token_ids", None))
        if hasattr(choice, "text"):
            draft["text"] += choice.text
            draft["tokens"] = joined(draft["tokens"], choice.logprobs and choice.logprobs.tokens)
            continue
        said = choice.message if hasattr(choice, "message") else choice.delta
        draft["text"] += said.content or ""
        draft["calls"] += [call.function.name for call in said.tool_calls or []]
        content = choice.logprobs and choice.logprobs.content
        draft["tokens"] = joined(draft["tokens"], None if content is None else [entry.token for entry in content])


def read_response(response):
    draft = {**empty_draft(), "reason": response.status}
    for item in response.output:
        if item.type == "function_call":
            draft["calls"].append(item.name)
        elif item.type == "message":
            for part in item.content:
                draft["text"] += part.text
                if part.logprobs:
                    draft["tokens"] = joined(draft["tokens"], [entry.token for entry in part.logprobs])
    return answer_of({0: draft}, [response.usage.input_tokens, response.usage.output_tokens])


def ask_responses(body, is_stream):
    if not is_stream:
        return read_response(create(client.responses, body))
    text, last = "", None
    for event in create(client.responses, {**body, "stream": True}):
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type in ("response.completed", "response.incomplete"):
            last = read_response(event.response)
    return {**last, "texts": [text]}


def ask(endpoint, body, is_stream):
    if endpoint == "responses":
        return ask_responses(body, is_stream)
    resource = client.chat.completions if endpoint == "chat" else client.completions
    drafts = {}
    if not is_stream:
        whole = create(resource, body)
        read(whole, drafts)
        return answer_of(drafts, [whole.usage.prompt_tokens, whole.usage.completion_tokens])
    usage = None
    for chunk in create(resource, {**body, "stream": True, "stream_options": {"include_usage": True}}):
        read(chunk, drafts)
        usage = chunk.usage or usage
    return answer_of(drafts, [usage.prompt_tokens, usage.completion_tokens])


def ask_or_error(endpoint, body, is_stream):
    try:
        return ask(endpoint, body, is_stream)
    except openai.APIStatusError as error:
        return {"kind": "error", "status": error.status_code, "code": error.code or "", "param": error.param}


with open(path, encoding="utf-8") as file:
    print(json.dumps([ask_or_error(row["endpoint"], row["body"], row["isStream"]) for row in json.load(file)]))
