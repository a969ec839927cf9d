/** The keys that leave a console, which takes all others for the guest (WCAG 2.1.2). */
export function leavesConsole(event: { key: string; ctrlKey: boolean; altKey: boolean; shiftKey: boolean }): boolean {
  return event.key === 'Escape' && event.ctrlKey && event.altKey && event.shiftKey;
}
