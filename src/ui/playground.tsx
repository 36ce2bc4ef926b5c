/** Asks a model: as a conversation, or to continue a text. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Message, Question } from './ask.js';
import { ModelSelect, SamplingFields, usualSampling } from './fields.js';
import { AnswerText, noRun, type Run, runToEnd, statusText, textOf, useAbort } from './run.js';
import type { ServerState } from './server-state.js';

type Mode = 'chat' | 'completion';

function Conversation({ messages }: { readonly messages: readonly Message[] }): JSX.Element {
  return (
    <ol class="messages" aria-label="Conversation">
      {messages.map(({ role, content }, i) => (
        <li key={i} class={role}>
          <b>{role === 'user' ? 'You' : 'Model'}</b>
          <p>{content}</p>
        </li>
      ))}
    </ol>
  );
}

function ModeChoice(props: { readonly mode: Mode; readonly onChange: (mode: Mode) => void }): JSX.Element {
  const option = (mode: Mode, label: string) => (
    <label class="choice">
      <input type="radio" name="mode" checked={props.mode === mode} onChange={() => props.onChange(mode)} />
      {label}
    </label>
  );
  return (
    <fieldset class="row">
      <legend>Mode</legend>
      {option('chat', 'Chat')}
      {option('completion', 'Completion')}
    </fieldset>
  );
}

/** State of the playground: what was said before, what is asked, and the answer to it. */
function usePlayground(server: ServerState) {
  const [history, setHistory] = useState<readonly Message[]>([]);
  const [run, setRun] = useState<Run>(noRun);
  const [asked, setAsked] = useState<Message | null>(null);
  const { begin, stop } = useAbort();
  const send = (question: Omit<Question, 'content' | 'asksCost'>, mode: Mode, system: string, input: string) => {
    const user: Message = { role: 'user', content: input };
    // What was answered last becomes part of the conversation once something is added to it.
    const before = asked === null || textOf(run) === '' ? history : [...history, asked, answerOf(run)];
    setHistory(before);
    setAsked(user);
    const first: readonly Message[] = system.trim() === '' ? [] : [{ role: 'system', content: system }];
    const content = mode === 'chat' ? { messages: [...first, ...before, user] } : { prompt: input };
    void runToEnd({ ...question, content, asksCost: server.hasEnergy }, server.key, begin(), setRun);
  };
  const clear = () => {
    stop();
    setHistory([]);
    setAsked(null);
    setRun(noRun);
  };
  return { history, run, asked, send, stop, clear };
}

const answerOf = (run: Run): Message => ({ role: 'assistant', content: textOf(run) });

export function Playground({ server }: { readonly server: ServerState }): JSX.Element {
  const [mode, setMode] = useState<Mode>('chat');
  const [model, setModel] = useState<string | null>(null);
  const [system, setSystem] = useState('');
  const [input, setInput] = useState('');
  const [sampling, setSampling] = useState(usualSampling);
  const [showsProbabilities, setShows] = useState(true);
  const { history, run, asked, send, stop, clear } = usePlayground(server);
  const isRunning = run.status === 'running';
  const chosen = model ?? server.models[0]?.id ?? 'default';
  const submit = (event: Event) => {
    event.preventDefault();
    if (isRunning || input.trim() === '') return;
    send({ model: chosen, sampling, showsProbabilities }, mode, system, input);
    if (mode === 'chat') setInput('');
  };
  const change = (next: Mode) => {
    setMode(next);
    clear();
  };
  return (
    <form onSubmit={submit}>
      <h2>Playground</h2>
      <div class="row">
        <ModeChoice mode={mode} onChange={change} />
        <ModelSelect models={server.models} value={chosen} onChange={setModel} />
      </div>
      <SamplingFields value={sampling} onChange={setSampling} />
      {mode === 'chat' && (
        <label>
          System message
          <input type="text" value={system} onInput={(event) => setSystem(event.currentTarget.value)} />
        </label>
      )}
      {mode === 'chat' && <Conversation messages={asked === null ? history : [...history, asked]} />}
      <section class="card" aria-label="Answer" aria-busy={isRunning} hidden={run.status === 'idle'}>
        <AnswerText run={run} />
      </section>
      <p role="status" class={run.status === 'failed' ? 'bad' : ''}>
        {statusText(run)}
      </p>
      <label>
        {mode === 'chat' ? 'Your message' : 'Text to continue'}
        <textarea
          rows={4}
          value={input}
          onInput={(event) => setInput(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) submit(event);
          }}
        />
      </label>
      <div class="row">
        <button type="submit" disabled={isRunning}>
          {mode === 'chat' ? 'Send' : 'Continue'}
        </button>
        <button type="button" disabled={!isRunning} onClick={stop}>
          Stop
        </button>
        <button type="button" onClick={clear}>
          Clear
        </button>
        <label class="choice">
          <input
            type="checkbox"
            checked={showsProbabilities}
            onChange={(event) => setShows(event.currentTarget.checked)}
          />
          Show probabilities
        </label>
        <span class="hint">Ctrl+Enter sends</span>
      </div>
    </form>
  );
}
