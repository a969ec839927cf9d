import { Button, EmptyState, EmptyStateBody, SearchInput, Switch, Toolbar, ToolbarContent, ToolbarItem } from '@patternfly/react-core';
import { useEffect, useMemo, useRef, useState } from 'react';

import { Failure } from '../kubernetes/failure';
import { stepLabel } from '../kubevirt/timeline';
import { download } from '../parts/download';
import { FailureAlert } from '../parts/failure-alert';
import { t } from '../words/words';
import { openLog } from './log-source';
import { End, marked, marksIn, withoutEscapes } from './log-text';

/** Characters that are kept: the browser shows no more at a bearable speed. */
const KEPT = 2_000_000;
/** Milliseconds between two drawings: each reads everything that is kept. */
const DRAWN_EVERY = 250;

/** Everything the guest has written to its serial line since it was started, to read and search. */
export function LogConsole(props: { namespace: string; name: string }): React.JSX.Element {
  const { namespace, name } = props;
  const { text, failure, retry } = useLog(namespace, name);
  const [words, setWords] = useState('');
  const [isWrapped, setWrapped] = useState(true);
  const [isFollowing, setFollowing] = useState(true);
  const place = useRef<HTMLPreElement>(null);
  const parts = useMemo(() => marked(text, words), [text, words]);
  const marks = useMemo(() => marksIn(text), [text]);
  function goTo(at: number): void {
    setFollowing(false);
    if (place.current !== null) scrollToLetter(place.current, at);
  }
  useEffect(() => {
    if (isFollowing && place.current !== null) place.current.scrollTop = place.current.scrollHeight;
  }, [text, isFollowing]);
  if (failure?.code === 404) {
    return (
      <EmptyState titleText={t('No log')} headingLevel="h3">
        <EmptyStateBody>
          {t('There is no log of this machine: it was not started, or the server does not serve it.')}
          <p className="av-subtle av-wrap">{failure.message}</p>
        </EmptyStateBody>
      </EmptyState>
    );
  }
  return (
    <div className="av-stack">
      {failure !== undefined && <FailureAlert title={t('The log cannot be read')} failure={failure} onRetry={retry} />}
      <Toolbar inset={{ default: 'insetNone' }}>
        <ToolbarContent>
          <ToolbarItem>
            <SearchInput aria-label={t('Search in the log')} placeholder={t('Search')} value={words} onChange={(_event, value) => setWords(value)} onClear={() => setWords('')} resultsCount={words === '' ? undefined : parts.filter((part) => part.isFound).length} />
          </ToolbarItem>
          <ToolbarItem alignSelf="center"><Switch id="log-wrap" label={t('Wrap lines')} isChecked={isWrapped} onChange={(_event, on) => setWrapped(on)} /></ToolbarItem>
          <ToolbarItem alignSelf="center"><Switch id="log-follow" label={t('Follow')} isChecked={isFollowing} onChange={(_event, on) => setFollowing(on)} /></ToolbarItem>
          <ToolbarItem><Button variant="secondary" size="sm" onClick={() => download(new Blob([text], { type: 'text/plain' }), `${name}-serial.log`)}>{t('Download')}</Button></ToolbarItem>
          {marks.length > 0 && (
            <ToolbarItem alignSelf="center">
              <span className="av-row" role="group" aria-label={t('Steps of the start')}>
                {marks.map(({ step, at }) => <Button key={step} variant="link" isInline size="sm" onClick={() => goTo(at)}>{stepLabel(step)}</Button>)}
              </span>
            </ToolbarItem>
          )}
        </ToolbarContent>
      </Toolbar>
      <pre ref={place} className={isWrapped ? 'av-log av-wrapped' : 'av-log'} tabIndex={0} role="log" aria-live="off" aria-label={t('Serial log of {name}', { name })} data-console="log">
        {text === '' ? t('The guest has written nothing yet.') : parts.map((part, index) => (part.isFound ? <mark key={index}>{part.text}</mark> : part.text))}
      </pre>
    </div>
  );
}

/** Scrolls `region` so that the letter at `at` of its text stands at its top. */
function scrollToLetter(region: HTMLElement, at: number): void {
  const walker = document.createTreeWalker(region, NodeFilter.SHOW_TEXT);
  let left = at;
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    const length = node.nodeValue?.length ?? 0;
    if (left < length) {
      const range = document.createRange();
      range.setStart(node, left);
      range.setEnd(node, left + 1);
      region.scrollTop += range.getBoundingClientRect().top - region.getBoundingClientRect().top;
      return;
    }
    left -= length;
  }
}

function useLog(namespace: string, name: string): { text: string; failure: Failure | undefined; retry: () => void } {
  const [text, setText] = useState('');
  const [failure, setFailure] = useState<Failure>();
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    setText('');
    setFailure(undefined);
    const end = new End(KEPT);
    let drawing: ReturnType<typeof setTimeout> | undefined;
    function draw(): void {
      drawing = undefined;
      setText(withoutEscapes(end.text()));
    }
    async function read(): Promise<void> {
      const response = await openLog(namespace, name, { follow: 'true' }, stop.signal);
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const piece = await reader?.read();
        if (piece === undefined || piece.done) return;
        end.add(piece.value);
        drawing ??= setTimeout(draw, DRAWN_EVERY);
      }
    }
    read().catch((thrown: unknown) => {
      if (!stop.signal.aborted) setFailure(Failure.of(thrown));
    });
    return () => {
      stop.abort();
      clearTimeout(drawing);
    };
  }, [namespace, name, attempt]);
  return { text, failure, retry: () => setAttempt(attempt + 1) };
}
