import { useRouter } from '@tanstack/react-router';

/** A link to a page of the console (`/machines/...`) without the router's preparation of each link: for long tables. */
export function LightLink(props: { to: string; className?: string; title?: string; label?: string; children: React.ReactNode }): React.JSX.Element {
  const router = useRouter();
  const href = `${router.basepath}${props.to}`;
  function followed(event: React.MouseEvent): void {
    // Whoever wants a new tab gets one.
    if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    void router.navigate({ href });
  }
  return (
    <a href={href} className={props.className} title={props.title} aria-label={props.label} onClick={followed}>
      {props.children}
    </a>
  );
}
