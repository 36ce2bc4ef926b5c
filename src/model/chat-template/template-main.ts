/** The thread of a chat template: parses it once, then renders one conversation after the other. */
import { parentPort, workerData } from 'node:worker_threads';
import { Template } from '@huggingface/jinja';
import { messageOf } from '../../errors.js';
import type { TemplateAnswer, TemplateSource } from './messages.js';

const { source, constants, charsMax } = workerData as TemplateSource;
let template: Template | null = null;

function render(variables: Readonly<Record<string, unknown>>): TemplateAnswer {
  try {
    template ??= new Template(source);
    const text = template.render({ ...variables, ...constants });
    if (text.length > charsMax) return { kind: 'failed', message: `the prompt has more than ${charsMax} characters` };
    return { kind: 'text', text };
  } catch (error) {
    return { kind: 'failed', message: messageOf(error).slice(0, 256) };
  }
}

parentPort?.postMessage({ kind: 'ready' } satisfies TemplateAnswer);
parentPort?.on('message', (variables: Readonly<Record<string, unknown>>) => {
  parentPort?.postMessage(render(variables));
});
