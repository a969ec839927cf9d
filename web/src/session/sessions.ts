import { send } from '../kubernetes/request';

/** A browser that is logged in, as the server tells it. Times are RFC 3339. */
export interface OpenSession {
  name: string;
  user: string;
  /** The address that logged in. */
  peer: string;
  /** What the browser calls itself: anything. */
  browser: string;
  opened: string;
  lastUsed: string;
  /** If nobody uses it again. */
  ends: string;
  /** Is it this browser's own? */
  current: boolean;
}

const PATH = '/console/api/sessions';

/** The sessions that the user may end: their own, of an administrator all. Throws `Failure`. */
export async function openSessions(): Promise<readonly OpenSession[]> {
  return (await send<{ sessions: OpenSession[] }>(PATH)).body.sessions;
}

/** Ends a session, with all that streams in its name. Throws `Failure`. */
export async function endSession(name: string): Promise<void> {
  await send(`${PATH}/${encodeURIComponent(name)}`, { method: 'DELETE' });
}

/** Lists the sessions in a terminal. */
export const LIST_COMMAND = 'anyvirt web --list';

/** Ends sessions in a terminal. */
export function endCommand(names: readonly string[]): string {
  return ['anyvirt web', ...names.map((name) => `--revoke ${name}`)].join(' ');
}

const BROWSERS: readonly [RegExp, string][] = [
  [/\bEdg\/(\d+)/, 'Edge'],
  [/\bFirefox\/(\d+)/, 'Firefox'],
  [/\b(?:Headless)?Chrome\/(\d+)/, 'Chrome'],
  [/\bVersion\/(\d+).*\bSafari\//, 'Safari'],
];
const SYSTEMS: readonly [RegExp, string][] = [
  [/\b(?:iPhone|iPad)\b/, 'iOS'],
  [/\bAndroid\b/, 'Android'],
  [/\bWindows\b/, 'Windows'],
  [/\bMac OS X\b/, 'macOS'],
  [/\bLinux\b/, 'Linux'],
];

/** What a browser calls itself, in short (`Chrome 156, Linux`); what is not understood stays as it is. Pure. */
export function shortBrowser(words: string): string {
  const browser = BROWSERS.map(([pattern, name]) => [pattern.exec(words)?.[1], name] as const).find(([version]) => version !== undefined);
  if (browser === undefined) return words;
  const [version = '', name] = browser;
  const system = SYSTEMS.find(([pattern]) => pattern.test(words))?.[1];
  return [`${name} ${version}`, ...(system === undefined ? [] : [system])].join(', ');
}
