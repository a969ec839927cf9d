import { t } from '../words/words';
import type { Status } from './object';

/** What is wrong with one field, or in one word of the console's door with a whole request. */
interface Cause {
  field: string;
  message: string;
  reason?: string;
}

/** A request that did not do what it should, with the server's own words. */
export class Failure extends Error {
  /** HTTP status; 0 if there was no answer at all. */
  readonly code: number;
  /** Kubernetes' one word for it, e.g. `Conflict`. */
  readonly reason: string;
  /** What is wrong with single fields. */
  readonly causes: readonly Cause[];

  constructor(code: number, reason: string, message: string, causes: readonly Cause[] = []) {
    super(message);
    this.name = 'Failure';
    this.code = code;
    this.reason = reason;
    this.causes = causes;
  }

  /** From what the server answered: a Status, or anything else. */
  static ofAnswer(code: number, body: string): Failure {
    const status = statusIn(body);
    if (status === undefined) {
      const told = body.trim().slice(0, 500);
      return new Failure(code, '', told === '' ? t('The server answered {code} without a reason.', { code: String(code) }) : told);
    }
    const causes = (status.details?.causes ?? []).map((cause) => ({
      field: cause.field ?? '',
      message: cause.message ?? '',
      ...(cause.reason === undefined ? {} : { reason: cause.reason }),
    }));
    return new Failure(status.code ?? code, status.reason ?? '', status.message ?? t('The server answered {code}.', { code: String(code) }), causes);
  }

  /** From whatever was thrown. */
  static of(thrown: unknown): Failure {
    if (thrown instanceof Failure) return thrown;
    const told = thrown instanceof Error ? thrown.message : String(thrown);
    return new Failure(0, 'Unreachable', told);
  }

  /** The watch is too old: everything must be listed again. */
  get isGone(): boolean {
    return this.code === 410 || this.reason === 'Expired' || this.reason === 'Gone';
  }

  /** Nobody is logged in. */
  get isLoggedOut(): boolean {
    return this.code === 401;
  }

  /** Somebody was logged in, and is no more. */
  get isOver(): boolean {
    return this.causes.some(({ reason }) => reason === 'SessionExpired');
  }

  /** Somebody has logged in anew in this browser since the page was loaded. */
  get isOfAnotherSession(): boolean {
    return this.causes.some(({ reason }) => reason === 'CsrfTokenWrong');
  }

  /** The user may not. */
  get isForbidden(): boolean {
    return this.code === 403;
  }
}

function statusIn(body: string): Status | undefined {
  try {
    const parsed: unknown = JSON.parse(body);
    const isStatus = typeof parsed === 'object' && parsed !== null && (parsed as Status).kind === 'Status';
    return isStatus ? (parsed as Status) : undefined;
  } catch {
    return undefined;
  }
}
