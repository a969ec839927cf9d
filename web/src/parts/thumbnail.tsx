import { useEffect, useState, useSyncExternalStore } from 'react';

import { open } from '../kubernetes/request';
import { RESOURCES, subresourcePath } from '../kubernetes/resource';
import { Failure } from '../kubernetes/failure';
import { type Machine } from '../kubevirt/machine';
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

/** This server has no pictures: not asked again before the page is loaded anew. */
let isUnserved = false;

/** A path that is not served, or not for this user, will not be on the next look either; a guest that just stopped is another matter. */
function willNeverBe(failure: Failure): boolean {
  const isUnknownPath = failure.code === 404 && !/not found$/i.test(failure.message);
  return isUnknownPath || failure.code === 405 || failure.isForbidden || /websocket|upgrade/i.test(failure.message);
}

/** A small picture of the guest's screen, if it runs; asked for only while it is drawn and the page is seen. */
export function Thumbnail(props: { machine: Machine }): React.JSX.Element {
  const { vm, vmi } = props.machine;
  const isOn = useThumbnails();
  const { namespace = 'default', name } = vm.metadata;
  const hasScreen = vmi?.status?.phase === 'Running' && vmi.spec.domain.devices.autoattachGraphicsDevice !== false;
  const picture = usePicture(isOn && hasScreen, namespace, name);
  if (picture === undefined) {
    return <span className="av-nothumb av-subtle av-small" aria-hidden="true">{hasScreen && isOn && !isUnserved ? '…' : ''}</span>;
  }
  return <img className="av-thumb" src={picture} alt={t('Screen of {name}', { name })} />;
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
    async function look(): Promise<void> {
      if (isUnserved || document.hidden) return;
      try {
        const path = subresourcePath(RESOURCES.virtualMachineInstances, namespace, name, 'vnc/screenshot');
        const response = await open(path, { accept: 'image/png,*/*', knownTag: tag, signal: stop.signal });
        if (response.status === 304) return;
        tag = response.headers.get('etag') ?? undefined;
        const blob = await response.blob();
        if (stop.signal.aborted) return;
        if (shown !== undefined) URL.revokeObjectURL(shown);
        shown = URL.createObjectURL(blob);
        setPicture(shown);
      } catch (thrown) {
        const failure = Failure.of(thrown);
        if (willNeverBe(failure)) isUnserved = true;
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
