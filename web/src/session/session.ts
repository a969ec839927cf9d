import { useSyncExternalStore } from 'react';

import { Failure } from '../kubernetes/failure';
import { carryToken, send, whenSessionIsRefused } from '../kubernetes/request';
import { forgetAll } from '../kubernetes/store';
import { forgetRights } from './rights';

/** Who is logged in. */
export interface User {
  name: string;
  groups: string[];
}

/** Where the login stands. `failure`: the server could not be asked. */
export type Session =
  | { state: 'asking' }
  | { state: 'out'; expired: boolean }
  | { state: 'in'; user: User }
  | { state: 'unreachable'; failure: Failure };

const PATHS = { session: '/console/api/session', login: '/console/api/login' } as const;

let session: Session = { state: 'asking' };
const listeners = new Set<() => void>();

function become(next: Session): void {
  session = next;
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Where the login stands, live. */
export function useSession(): Session {
  return useSyncExternalStore(subscribe, () => session);
}

interface LoggedIn {
  user: User;
  csrf: string;
}

function enter(answer: LoggedIn): void {
  // What somebody else could read is not to be seen by who comes after them.
  if (session.state === 'in' && session.user.name !== answer.user.name) forgetAll();
  forgetRights();
  carryToken(answer.csrf);
  become({ state: 'in', user: { name: answer.user.name, groups: answer.user.groups ?? [] } });
}

/** Asks whether this browser has a session, and follows its end. */
export async function resume(): Promise<void> {
  whenSessionIsRefused((failure) => {
    if (session.state !== 'in') return;
    // Somebody has logged in in another tab: from now on this one asks in their name too.
    if (failure.isOfAnotherSession) {
      void send<LoggedIn>(PATHS.session).then(({ body }) => enter(body), () => undefined);
      return;
    }
    forgetAll();
    become({ state: 'out', expired: true });
  });
  try {
    enter((await send<LoggedIn>(PATHS.session)).body);
  } catch (thrown) {
    const failure = Failure.of(thrown);
    become(failure.isLoggedOut ? { state: 'out', expired: failure.isOver } : { state: 'unreachable', failure });
  }
}

/** Logs in with the key of a one-time link, or with a bearer token, which this browser does not keep. Throws {@link Failure}. */
export async function logIn(proof: { link: string } | { token: string }): Promise<void> {
  enter((await send<LoggedIn>(PATHS.login, { method: 'POST', body: proof })).body);
}

/** Logs out, here and on the server. */
export async function logOut(): Promise<void> {
  try {
    await send(PATHS.session, { method: 'DELETE' });
  } finally {
    forgetAll();
    become({ state: 'out', expired: false });
  }
}
