// The times of frames in a page.

/** Milliseconds of each of `count` frames, the shortest first; before each the table `region` is scrolled by `pixels`. */
export async function frameTimes(page, { count, region, pixels = 0 }) {
  return page.evaluate(
    async (asked) => {
      const scrolled = asked.region === undefined ? undefined : document.querySelector(asked.region);
      if (scrolled === null) throw new Error(`nothing is ${asked.region}`);
      const times = [];
      let last = performance.now();
      for (let frame = 0; frame < asked.count; frame += 1) {
        if (scrolled !== undefined) scrolled.scrollTop += asked.pixels;
        await new Promise((done) => requestAnimationFrame(done));
        times.push(performance.now() - last);
        last = performance.now();
      }
      return times.sort((a, b) => a - b);
    },
    { count, region, pixels },
  );
}

/** The value below which the share `part` of `sorted` lies. */
export function quantile(sorted, part) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
}
