import { Failure } from './failure';

/** What a request carries. */
export interface Sent {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  body?: unknown;
  /** Default `application/json`. */
  contentType?: string;
  accept?: string;
  /** The tag of what is known already; the answer may then be 304, without a body. */
  knownTag?: string | undefined;
  signal?: AbortSignal;
}

/** What came back. */
export interface Answer<T> {
  body: T;
  /** The server's warnings, word for word. */
  warnings: string[];
}

let csrf = '';
let refused: (failure: Failure) => void = () => undefined;

/** Hands in the token that every request other than GET must carry. */
export function carryToken(token: string): void {
  csrf = token;
}

/** Hands in what happens when the server no longer knows the session, or this browser has another one by now. */
export function whenSessionIsRefused(act: (failure: Failure) => void): void {
  refused = act;
}

/** Sends a request of this origin and gives back the open response. Throws {@link Failure}. */
export async function open(path: string, sent: Sent = {}): Promise<Response> {
  const method = sent.method ?? 'GET';
  const headers: Record<string, string> = { accept: sent.accept ?? 'application/json' };
  if (method !== 'GET') headers['x-csrf-token'] = csrf;
  if (sent.body !== undefined) headers['content-type'] = sent.contentType ?? 'application/json';
  if (sent.knownTag !== undefined) headers['if-none-match'] = sent.knownTag;
  const response = await fetch(path, {
    method,
    headers,
    credentials: 'same-origin',
    cache: 'no-store',
    ...(sent.body === undefined ? {} : { body: typeof sent.body === 'string' ? sent.body : JSON.stringify(sent.body) }),
    ...(sent.signal === undefined ? {} : { signal: sent.signal }),
  });
  if (response.ok || response.status === 304) return response;
  const failure = Failure.ofAnswer(response.status, await response.text());
  if (failure.isLoggedOut || failure.isOfAnotherSession) refused(failure);
  throw failure;
}

/** Sends a request and reads the answer as JSON. An empty answer is `undefined`. Throws {@link Failure}. */
export async function send<T>(path: string, sent: Sent = {}): Promise<Answer<T>> {
  try {
    const response = await open(path, sent);
    const text = await response.text();
    const body = (text === '' ? undefined : JSON.parse(text)) as T;
    return { body, warnings: warningsIn(response.headers.get('warning')) };
  } catch (thrown) {
    if (thrown instanceof DOMException && thrown.name === 'AbortError') throw thrown;
    throw Failure.of(thrown);
  }
}

/** The texts in a `Warning` header (RFC 7234 5.5): `299 - "text"`, several separated by commas. */
export function warningsIn(header: string | null): string[] {
  if (header === null) return [];
  const texts = header.matchAll(/\d{3} \S+ "((?:[^"\\]|\\.)*)"/g);
  return [...texts].map((match) => (match[1] ?? '').replace(/\\(.)/g, '$1'));
}
