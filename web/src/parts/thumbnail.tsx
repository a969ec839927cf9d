import { useEffect, useState, useSyncExternalStore } from 'react';

import { open } from '../kubernetes/request';
import { RESOURCES, subresourcePath } from '../kubernetes/resource';
import type { Right } from '../kubevirt/actions';
import type { Machine } from '../kubevirt/machine';
import { useRight } from '../session/rights';
import { t } from '../words/words';

/** Milliseconds between two pictures of one screen. */
const EVERY = 15_000;
const STORED_AS = 'anyvirt.thumbnails';

/** Are pictures of guests' screens shown? A screen can hold secrets, so a person may switch them off. */
export const thumbnails = {
  on: readStored(),
  listeners: new Set<() => void>(),
  /** Switches them, for this browser. */
  switchTo(on: boolean): void {
    this.on = on;
    try {
      localStorage.setItem(STORED_AS, on ? 'on' : 'off');
    } catch {
      // The choice lasts as long as the page.
    }
    for (const listener of this.listeners) listener();
  },
};

function readStored(): boolean {
  try {
    return localStorage.getItem(STORED_AS) !== 'off';
  } catch {
    return true;
  }
}

function subscribe(listener: () => void): () => void {
  thumbnails.listeners.add(listener);
  return () => thumbnails.listeners.delete(listener);
}

/** Whether pictures are shown, live. */
export function useThumbnails(): boolean {
  return useSyncExternalStore(subscribe, () => thumbnails.on);
}

const SEE: Right = { verb: 'get', type: RESOURCES.virtualMachineInstances, subresource: 'vnc/screenshot' };

/** A small picture of the guest's screen, if it runs; asked for only while it is drawn and the page is seen. */
export function Thumbnail(props: { machine: Machine }): React.JSX.Element {
  const { vm, vmi } = props.machine;
  const isOn = useThumbnails();
  const { namespace = 'default', name } = vm.metadata;
  const hasScreen = vmi?.status?.phase === 'Running' && vmi.spec.domain.devices.autoattachGraphicsDevice !== false;
  return isOn && hasScreen ? <Screen namespace={namespace} name={name} /> : <Blank />;
}

function Screen(props: { namespace: string; name: string }): React.JSX.Element {
  const { namespace, name } = props;
  // Asked first, once per project: a refusal for each of a hundred rows would tell no more.
  const may = useRight(SEE, namespace) === true;
  const picture = usePicture(may, namespace, name);
  if (picture === undefined) return <Blank>{may && '…'}</Blank>;
  return <img className="av-thumb" src={picture} alt={t('Screen of {name}', { name })} />;
}

function Blank(props: { children?: React.ReactNode }): React.JSX.Element {
  return <span className="av-nothumb av-subtle av-small" aria-hidden="true">{props.children}</span>;
}

function usePicture(isWanted: boolean, namespace: string, name: string): string | undefined {
  const [picture, setPicture] = useState<string>();
  useEffect(() => {
    if (!isWanted) {
      setPicture(undefined);
      return undefined;
    }
    const stop = new AbortController();
    let shown: string | undefined;
    let tag: string | undefined;
    function show(next: string | undefined): void {
      if (shown !== undefined) URL.revokeObjectURL(shown);
      shown = next;
      setPicture(next);
    }
    async function look(): Promise<void> {
      if (document.hidden) return;
      try {
        const path = subresourcePath(RESOURCES.virtualMachineInstances, namespace, name, 'vnc/screenshot');
        const response = await open(path, { accept: 'image/png,*/*', knownTag: tag, signal: stop.signal });
        if (response.status === 304) return;
        const blob = await response.blob();
        if (stop.signal.aborted) return;
        tag = response.headers.get('etag') ?? undefined;
        show(URL.createObjectURL(blob));
      } catch {
        if (stop.signal.aborted) return;
        // What cannot be seen now is not shown as if it were; a guest that just stops or starts is looked at again.
        tag = undefined;
        show(undefined);
      }
    }
    void look();
    const timer = setInterval(() => void look(), EVERY);
    return () => {
      stop.abort();
      clearInterval(timer);
      if (shown !== undefined) URL.revokeObjectURL(shown);
    };
  }, [isWanted, namespace, name]);
  return picture;
}
