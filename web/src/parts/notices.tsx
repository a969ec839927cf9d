import { Alert, AlertActionCloseButton, AlertActionLink, AlertGroup } from '@patternfly/react-core';
import { useSyncExternalStore } from 'react';

import { t } from '../words/words';

/** Something that is told once, in a corner. */
export interface Notice {
  tone: 'success' | 'info' | 'warning' | 'danger';
  title: string;
  detail?: string;
  /** A way back, offered as long as the notice is shown. */
  undo?: { label: string; act: () => void };
}

/** Milliseconds a notice stays; with a way back it stays longer, a failure until it is closed. */
const STAYS = 8_000;
const STAYS_WITH_UNDO = 30_000;
/** Notices shown at once; older ones make room. */
const MOST = 5;

let notices: readonly (Notice & { id: number })[] = [];
let last = 0;
const listeners = new Set<() => void>();

function become(next: typeof notices): void {
  notices = next;
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Tells something. */
export function notify(notice: Notice): void {
  last += 1;
  const id = last;
  become([...notices, { ...notice, id }].slice(-MOST));
  if (notice.tone === 'danger' || notice.tone === 'warning') return;
  setTimeout(() => close(id), notice.undo === undefined ? STAYS : STAYS_WITH_UNDO);
}

function close(id: number): void {
  become(notices.filter((notice) => notice.id !== id));
}

/** The corner where notices are shown, and read out. */
export function Notices(): React.JSX.Element {
  const shown = useSyncExternalStore(subscribe, () => notices);
  return (
    <AlertGroup isToast isLiveRegion aria-label={t('Notices')}>
      {shown.map((notice) => (
        <Alert
          key={notice.id}
          variant={notice.tone}
          title={notice.title}
          actionClose={<AlertActionCloseButton onClose={() => close(notice.id)} />}
          actionLinks={
            notice.undo === undefined ? undefined : (
              <AlertActionLink
                onClick={() => {
                  close(notice.id);
                  notice.undo?.act();
                }}
              >
                {notice.undo.label}
              </AlertActionLink>
            )
          }
        >
          {notice.detail}
        </Alert>
      ))}
    </AlertGroup>
  );
}
