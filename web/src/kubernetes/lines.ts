/** Cuts a stream of text into lines, whatever the pieces it arrives in. */
export class Lines {
  #rest = '';
  /** Longest line that is kept, in characters: a Kubernetes object is at most some 3 MB. */
  static readonly LONGEST = 8_000_000;

  /** The lines that `piece` completes, without their ends; empty ones are left out. */
  take(piece: string): string[] {
    const parts = (this.#rest + piece).split('\n');
    this.#rest = parts.pop() ?? '';
    if (this.#rest.length > Lines.LONGEST) throw new Error('a line of the watch is longer than any object may be');
    return parts.filter((line) => line.trim() !== '');
  }
}
