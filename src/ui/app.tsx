/** The page at `/`: playground, comparison, dashboard. */
import { type JSX, render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { AskError, getJson } from './ask.js';
import { Compare } from './compare.js';
import { Dashboard, scrape } from './dashboard.js';
import { Playground } from './playground.js';
import { reasonOf } from './run.js';
import type { KnownModel, ServerState } from './server-state.js';

const places = { playground: 'Playground', compare: 'Compare', dashboard: 'Dashboard' } as const;
type Place = keyof typeof places;

function currentPlace(): Place {
  const name = location.hash.replace(/^#\/?/, '');
  return name in places ? (name as Place) : 'playground';
}

function usePlace(): Place {
  const [place, setPlace] = useState(currentPlace);
  useEffect(() => {
    const change = () => setPlace(currentPlace());
    addEventListener('hashchange', change);
    return () => removeEventListener('hashchange', change);
  }, []);
  return place;
}

type Connection =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'ready'; readonly server: ServerState }
  | { readonly kind: 'key-needed' }
  | { readonly kind: 'failed'; readonly message: string };

async function connect(key: string, refresh: () => void): Promise<Connection> {
  try {
    const [list, snapshot] = await Promise.all([getJson('v1/models', key), scrape()]);
    const { data } = list as { readonly data: readonly KnownModel[] };
    const hasEnergy = snapshot.series.has('nibble_energy_joules_total');
    return { kind: 'ready', server: { models: data, hasEnergy, key, refresh } };
  } catch (error) {
    if (error instanceof AskError && error.status === 401) return { kind: 'key-needed' };
    return { kind: 'failed', message: reasonOf(error) };
  }
}

/** A server that loads its model answers 503: try again. */
const retryMs = 2000;

function useServer(): { readonly connection: Connection; readonly useKey: (key: string) => void } {
  const [connection, setConnection] = useState<Connection>({ kind: 'connecting' });
  const [key, setKey] = useState('');
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const again = () => setAttempt((count) => count + 1);
    void connect(key, again).then((next) => {
      setConnection(next);
      if (next.kind === 'failed') timer = setTimeout(again, retryMs);
    });
    return () => clearTimeout(timer);
  }, [key, attempt]);
  return { connection, useKey: setKey };
}

function KeyForm({ onKey }: { readonly onKey: (key: string) => void }): JSX.Element {
  const [text, setText] = useState('');
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onKey(text);
      }}
    >
      <label>
        API key (kept until this page is closed)
        <input
          type="password"
          autocomplete="off"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
      </label>
      <button type="submit">Use it</button>
    </form>
  );
}

function Content(props: { readonly place: Place; readonly server: ServerState }): JSX.Element {
  const { place, server } = props;
  switch (place) {
    case 'playground':
      return <Playground server={server} />;
    case 'compare':
      return <Compare server={server} />;
    case 'dashboard':
      return <Dashboard />;
  }
}

function App(): JSX.Element {
  const place = usePlace();
  const { connection, useKey } = useServer();
  return (
    <>
      <header>
        <h1>Nibble</h1>
        <nav aria-label="Parts of this page">
          {Object.entries(places).map(([name, title]) => (
            <a key={name} href={`#/${name}`} aria-current={name === place ? 'page' : undefined}>
              {title}
            </a>
          ))}
          <a href="docs">API</a>
        </nav>
      </header>
      <main>
        {connection.kind === 'connecting' && <p role="status">Connecting…</p>}
        {connection.kind === 'failed' && <p role="alert">{connection.message} Trying again…</p>}
        {connection.kind === 'key-needed' && <KeyForm onKey={useKey} />}
        {connection.kind === 'ready' && <Content place={place} server={connection.server} />}
      </main>
    </>
  );
}

const root = document.querySelector('#app');
if (root !== null) {
  root.replaceChildren();
  render(<App />, root);
}
