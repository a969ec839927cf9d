import '@xterm/xterm/css/xterm.css';

import { Button, Toolbar, ToolbarContent, ToolbarItem } from '@patternfly/react-core';
import { FitAddon } from '@xterm/addon-fit';
import { Terminal } from '@xterm/xterm';
import { useEffect, useRef, useState } from 'react';

import { Failure } from '../kubernetes/failure';
import { t } from '../words/words';
import { PLAIN, streamAddress } from './address';
import { leavesConsole } from './leave';
import { latestLog } from './log-source';
import { stylesWithNonce } from './styles-with-nonce';
import { Veil } from './veil';

/** Lines kept: a boot of a chatty guest several times over. */
const SCROLLBACK = 10_000;

type State = { is: 'connecting' } | { is: 'open' } | { is: 'closed'; why: string };

/** The guest's serial line, to type into. */
export function SerialConsole(props: { namespace: string; name: string }): React.JSX.Element {
  const { namespace, name } = props;
  const place = useRef<HTMLDivElement>(null);
  const leave = useRef<HTMLButtonElement>(null);
  const terminal = useRef<Terminal>(undefined);
  const [state, setState] = useState<State>({ is: 'connecting' });
  const [attempt, setAttempt] = useState(0);

  useEffect(() => {
    if (place.current === null) return undefined;
    const shown = openTerminal(place.current);
    terminal.current = shown.terminal;
    shown.terminal.attachCustomKeyEventHandler((event) => {
      if (!leavesConsole(event)) return true;
      leave.current?.focus();
      return false;
    });
    const stop = new AbortController();
    const begin = async (): Promise<void> => {
      await showLatest(shown.terminal, namespace, name, stop.signal);
      if (!stop.signal.aborted) connect(shown.terminal, streamAddress(window.location, namespace, name, 'console'), setState, stop.signal);
    };
    void begin();
    return () => {
      stop.abort();
      shown.dispose();
    };
  }, [namespace, name, attempt]);

  return (
    <div className="av-stack" data-takes-keys="">
      <Toolbar inset={{ default: 'insetNone' }}>
        <ToolbarContent>
          <ToolbarItem>
            <Button ref={leave} variant="secondary" size="sm" onClick={() => terminal.current?.focus()}>{t('Type here')}</Button>
          </ToolbarItem>
          <ToolbarItem>
            <Button variant="secondary" size="sm" onClick={() => copySelection(terminal.current)}>{t('Copy selection')}</Button>
          </ToolbarItem>
          <ToolbarItem>
            <Button variant="secondary" size="sm" onClick={() => terminal.current?.clear()}>{t('Clear')}</Button>
          </ToolbarItem>
          <ToolbarItem alignSelf="center"><span className="av-subtle av-small">{t('Ctrl+Alt+Shift+Esc leaves the console.')}</span></ToolbarItem>
        </ToolbarContent>
      </Toolbar>
      <div className="av-screen av-terminal">
        <div ref={place} data-state={state.is} data-console="serial" />
        {state.is !== 'open' && (
          <Veil
            text={state.is === 'connecting' ? t('Connecting to the serial console…') : state.why}
            onRetry={state.is === 'closed' ? () => { setState({ is: 'connecting' }); setAttempt(attempt + 1); } : undefined}
          />
        )}
      </div>
    </div>
  );
}

function openTerminal(place: HTMLElement): { terminal: Terminal; dispose: () => void } {
  const terminal = new Terminal({
    scrollback: SCROLLBACK,
    cursorBlink: !matchMedia('(prefers-reduced-motion: reduce)').matches,
    fontFamily: 'RedHatMono, "DejaVu Sans Mono", monospace',
    fontSize: 14,
    screenReaderMode: true,
    // What a guest writes must never become a link or a title of this page.
    linkHandler: { activate: () => undefined },
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  stylesWithNonce(() => terminal.open(place));
  fit.fit();
  const resized = new ResizeObserver(() => fit.fit());
  resized.observe(place);
  terminal.focus();
  return {
    terminal,
    dispose: () => {
      resized.disconnect();
      terminal.dispose();
    },
  };
}

/**
 * Shows what the guest has written last: its line says only what comes from now on. Ends when the terminal has taken
 * it, before anybody listens to the terminal: it answers old questions of the guest too, which waits for no answer now.
 */
async function showLatest(terminal: Terminal, namespace: string, name: string, signal: AbortSignal): Promise<void> {
  let end: Uint8Array | string;
  try {
    end = await latestLog(namespace, name, signal);
  } catch (thrown) {
    if (signal.aborted) return;
    // What was written before is missing, and the line works all the same.
    end = `${t('What the guest has written before cannot be read: {why}', { why: Failure.of(thrown).message })}\r\n`;
  }
  if (!signal.aborted) await new Promise<void>((done) => terminal.write(end, done));
}

/** Joins terminal and line until `signal` is aborted. Nothing is sent that nobody has typed: Enter answers questions. */
function connect(terminal: Terminal, address: string, tell: (state: State) => void, signal: AbortSignal): void {
  const socket = new WebSocket(address, [PLAIN]);
  socket.binaryType = 'arraybuffer';
  const encoder = new TextEncoder();
  socket.onopen = () => tell({ is: 'open' });
  socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => terminal.write(typeof data === 'string' ? data : new Uint8Array(data));
  socket.onclose = ({ reason, code }) => {
    if (signal.aborted) return;
    const told = reason === '' ? t('The console was closed (code {code}). The guest may have stopped, or somebody else has opened its console.', { code: String(code) }) : reason;
    tell({ is: 'closed', why: told });
  };
  const typing = terminal.onData((text) => socket.readyState === WebSocket.OPEN && socket.send(encoder.encode(text)));
  signal.addEventListener('abort', () => {
    typing.dispose();
    socket.close();
  });
}

function copySelection(terminal: Terminal | undefined): void {
  const selection = terminal?.getSelection() ?? '';
  if (selection !== '') void navigator.clipboard.writeText(selection);
}
