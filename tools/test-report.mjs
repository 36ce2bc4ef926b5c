// A reporter of node:test for tools/test.mjs: one line of JSON with what took how long and what was skipped.

/** Yields `{"times": [[file, ms], …], "skipped": [name, …]}` when all tests have run. */
export default async function* report(events) {
  const times = new Map();
  const skipped = [];
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    if (data.skip !== undefined || data.todo !== undefined) skipped.push(`${data.file ?? ''}: ${data.name}`);
    const isOutermost = data.nesting === 0;
    if (isOutermost && data.file !== undefined) {
      times.set(data.file, (times.get(data.file) ?? 0) + data.details.duration_ms);
    }
  }
  yield `${JSON.stringify({ times: [...times], skipped })}\n`;
}
