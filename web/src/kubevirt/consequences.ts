import { Failure } from '../kubernetes/failure';
import { send } from '../kubernetes/request';

/** What follows from a change before it is made. */
export interface Consequences {
  /** Machines that wait now, and what becomes of them. */
  waiting: readonly string[];
  /** Machines that run, and what becomes of them. */
  running: readonly string[];
  /** What machines get that start from then on. */
  new: string;
  problems: readonly string[];
}

/** Asks the server what follows if `object` is applied. `undefined`: this server does not tell. Throws {@link Failure}. */
export async function consequencesOf(object: object): Promise<Consequences | undefined> {
  try {
    const { body } = await send<unknown>('/console/api/consequences', { method: 'POST', body: { object } });
    return readConsequences(body);
  } catch (thrown) {
    const failure = Failure.of(thrown);
    if (failure.code === 404) return undefined;
    throw failure;
  }
}

/** Reads an answer; what is missing in it is empty. */
export function readConsequences(body: unknown): Consequences | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const { waiting, running, problems, new: fresh } = body as Record<string, unknown>;
  return { waiting: lines(waiting), running: lines(running), new: typeof fresh === 'string' ? fresh : '', problems: lines(problems) };
}

function lines(value: unknown): string[] {
  if (!Array.isArray(value)) return [];
  return value.map((one: unknown) => (typeof one === 'string' ? one : told(one))).filter((line) => line !== '');
}

/** An entry that is an object: its name and its words. */
function told(one: unknown): string {
  if (typeof one !== 'object' || one === null) return '';
  const { namespace, name, message, text, effect } = one as Record<string, unknown>;
  const who = [namespace, name].filter((word) => typeof word === 'string').join('/');
  const what = [message, text, effect].find((word) => typeof word === 'string');
  return [who, what].filter((word) => typeof word === 'string' && word !== '').join(': ');
}

/** Does nothing follow that is worth telling? */
export function isEmpty(consequences: Consequences): boolean {
  const { waiting, running, problems } = consequences;
  return waiting.length + running.length + problems.length === 0 && consequences.new === '';
}
