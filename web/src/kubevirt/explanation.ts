import { Failure } from '../kubernetes/failure';
import type { JsonPatch, MergePatch } from '../kubernetes/patch';
import { send } from '../kubernetes/request';

/** What is the matter with a machine, what shows it, and what helps, the best first. */
export interface Explanation {
  cause: string;
  /** `Fine`, `InProgress`, `Acceleration`, `Problem` or `Unknown`. */
  standing?: string;
  evidence: readonly Evidence[];
  cures: readonly Cure[];
}

/** Something that was said or seen, word for word. */
export interface Evidence {
  source: string;
  text: string;
}

/** Something that helps. */
export interface Cure {
  title: string;
  effect: string;
  cost: string;
  command?: string;
  reversible?: boolean;
  /** What the console can do by itself. */
  action?: { kind: string; path: string; body: MergePatch | JsonPatch };
}

/** Asks the server. `undefined`: this server does not explain. Throws {@link Failure}. */
export async function explain(namespace: string, name: string, signal: AbortSignal): Promise<Explanation | undefined> {
  const query = new URLSearchParams({ namespace, name });
  try {
    const { body } = await send<unknown>(`/console/api/explain?${query}`, { signal });
    return explanationOf(body);
  } catch (thrown) {
    const failure = Failure.of(thrown);
    if (failure.code === 404) return undefined;
    throw thrown;
  }
}

/** Reads an answer; evidence may be plain text. What is no explanation is `undefined`. */
export function explanationOf(body: unknown): Explanation | undefined {
  if (typeof body !== 'object' || body === null || !('cause' in body) || typeof body.cause !== 'string') return undefined;
  const { cause, standing, evidence = [], cures = [] } = body as {
    cause: string;
    standing?: string;
    evidence?: (string | Evidence)[];
    cures?: Cure[];
  };
  return {
    cause,
    ...(standing === undefined ? {} : { standing }),
    evidence: evidence.map((one) => (typeof one === 'string' ? { source: '', text: one } : one)),
    cures,
  };
}

/** Letters that fit into a headline. */
const HEADLINE = 160;

/** A cause as a headline, and what of it is too long for one. */
export function headline(cause: string): { title: string; rest: string } {
  const sentence = cause.charAt(0).toUpperCase() + cause.slice(1);
  const colon = sentence.indexOf(': ');
  if (sentence.length <= HEADLINE || colon < 0 || colon > HEADLINE) return { title: sentence, rest: '' };
  return { title: sentence.slice(0, colon), rest: sentence.slice(colon + 2) };
}
