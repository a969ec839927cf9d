import { Button, Card, CardBody, CardTitle, ClipboardCopy, EmptyState, EmptyStateBody, ExpandableSection, Label, Modal, ModalBody, ModalFooter, ModalHeader, Skeleton } from '@patternfly/react-core';
import { useCallback, useEffect, useState } from 'react';

import { Failure } from '../kubernetes/failure';
import { Age } from '../parts/age';
import { FailureAlert } from '../parts/failure-alert';
import { notify } from '../parts/notices';
import { useNow } from '../parts/now';
import { logOut } from '../session/session';
import { endCommand, endSession, LIST_COMMAND, openSessions, type OpenSession, shortBrowser } from '../session/sessions';
import { duration } from '../words/measures';
import { plural, t } from '../words/words';

/** Who is logged in to the console, and ending that. */
export function SessionsCard(): React.JSX.Element {
  const { sessions, failure, load } = useSessions();
  const [asked, setAsked] = useState<readonly OpenSession[]>();
  const others = (sessions ?? []).filter(({ current }) => !current);
  return (
    <Card component="section" aria-labelledby="sessions-title">
      <CardTitle component="h2" id="sessions-title">{t('Sessions')}</CardTitle>
      <CardBody className="av-stack">
        <p className="av-subtle">{t('Browsers that are logged in. You see your own; an administrator sees everybody’s.')}</p>
        {failure !== undefined && <FailureAlert title={t('The sessions cannot be shown')} failure={failure} onRetry={() => void load()} />}
        {sessions === undefined && failure === undefined && <Skeleton height="8rem" screenreaderText={t('Loading')} />}
        {sessions?.length === 0 && (
          <EmptyState titleText={t('No sessions')} headingLevel="h3" variant="xs">
            <EmptyStateBody>{t('No browser is logged in. A one-time link logs one in:')} <code>anyvirt web</code></EmptyStateBody>
          </EmptyState>
        )}
        {sessions !== undefined && sessions.length > 0 && <SessionsTable sessions={sessions} onEnd={(session) => setAsked([session])} />}
        <div className="av-row">
          <Button variant="secondary" isDisabled={sessions === undefined} onClick={() => void load()}>{t('Look again')}</Button>
          <Button variant="secondary" isDanger isAriaDisabled={others.length === 0} onClick={() => others.length > 0 && setAsked(others)}>{t('End all others')}</Button>
          {sessions !== undefined && others.length === 0 && <span className="av-subtle av-small">{t('There is no other session.')}</span>}
        </div>
        <ExpandableSection toggleText={t('Show command')}>
          <Command>{LIST_COMMAND}</Command>
        </ExpandableSection>
        {asked !== undefined && <EndDialog sessions={asked} onClose={() => setAsked(undefined)} onEnded={() => void load()} />}
      </CardBody>
    </Card>
  );
}

function useSessions(): { sessions: readonly OpenSession[] | undefined; failure: Failure | undefined; load: () => Promise<void> } {
  const [sessions, setSessions] = useState<readonly OpenSession[]>();
  const [failure, setFailure] = useState<Failure>();
  const load = useCallback(async () => {
    try {
      setSessions(await openSessions());
      setFailure(undefined);
    } catch (thrown) {
      setFailure(Failure.of(thrown));
    }
  }, []);
  useEffect(() => void load(), [load]);
  return { sessions, failure, load };
}

function SessionsTable(props: { sessions: readonly OpenSession[]; onEnd: (session: OpenSession) => void }): React.JSX.Element {
  const now = useNow();
  return (
    <div className="av-scroll" role="region" tabIndex={0} aria-label={t('Sessions')}>
      <table className="av-table">
        <thead>
          <tr>{[t('User'), t('From'), t('Since'), t('Last seen'), t('Ends in'), t('Actions')].map((title) => <th key={title} scope="col">{title}</th>)}</tr>
        </thead>
        <tbody>
          {props.sessions.map((session) => (
            <tr key={session.name} data-session={session.name}>
              <td>{session.user} {session.current && <Label isCompact color="blue">{t('this browser')}</Label>}</td>
              <td><span title={session.browser}>{shortBrowser(session.browser)}</span> <span className="av-subtle av-small">{session.peer}</span></td>
              <td className="av-tight"><Age time={session.opened} /></td>
              <td className="av-tight"><Age time={session.lastUsed} /></td>
              <td className="av-tight av-number">{duration((Date.parse(session.ends) - now) / 1000)}</td>
              <td className="av-tight">
                {session.current ? (
                  <Button variant="secondary" size="sm" onClick={() => void logOut()}>{t('Log out')}</Button>
                ) : (
                  <Button variant="secondary" size="sm" aria-label={t('End the session {name} of {user}', { name: session.name, user: session.user })} onClick={() => props.onEnd(session)}>{t('End')}</Button>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function EndDialog(props: { sessions: readonly OpenSession[]; onClose: () => void; onEnded: () => void }): React.JSX.Element {
  const { onClose, onEnded } = props;
  const [left, setLeft] = useState(props.sessions);
  const [failure, setFailure] = useState<Failure>();
  const [isBusy, setBusy] = useState(false);

  async function end(): Promise<void> {
    setBusy(true);
    setFailure(undefined);
    let rest = left;
    try {
      for (const { name } of left) {
        await ended(name);
        rest = rest.filter((one) => one.name !== name);
      }
      notify({ tone: 'success', title: plural(left.length, '{count} session has ended', '{count} sessions have ended') });
      onClose();
    } catch (thrown) {
      setLeft(rest);
      setFailure(Failure.of(thrown));
      setBusy(false);
    }
    onEnded();
  }

  return (
    <Modal isOpen onClose={onClose} variant="small" aria-labelledby="end-title">
      <ModalHeader title={plural(left.length, 'End {count} session?', 'End {count} sessions?')} titleIconVariant="warning" labelId="end-title" />
      <ModalBody tabIndex={0}>
        <div className="av-stack">
          {failure !== undefined && <FailureAlert title={t('Not all have ended')} failure={failure} />}
          <ul>
            {left.map(({ name, user, browser, peer }) => <li key={name}>{t('{user}, {browser}, from {peer}', { user, browser: shortBrowser(browser), peer })}</li>)}
          </ul>
          <p>{t('Whoever uses them has to log in again; what streams to them, such as consoles, is cut. Virtual machines go on running.')}</p>
          <ExpandableSection toggleText={t('Show command')}>
            <Command>{endCommand(left.map(({ name }) => name))}</Command>
          </ExpandableSection>
        </div>
      </ModalBody>
      <ModalFooter>
        <Button variant="danger" isLoading={isBusy} isDisabled={isBusy} onClick={() => void end()}>{t('End')}</Button>
        <Button variant="link" onClick={onClose}>{t('Cancel')}</Button>
      </ModalFooter>
    </Modal>
  );
}

/** Ends a session; one that is over already has ended. */
async function ended(name: string): Promise<void> {
  try {
    await endSession(name);
  } catch (thrown) {
    const failure = Failure.of(thrown);
    if (failure.code !== 404) throw failure;
  }
}

function Command(props: { children: string }): React.JSX.Element {
  return <ClipboardCopy isReadOnly isCode hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('Command')}>{props.children}</ClipboardCopy>;
}
