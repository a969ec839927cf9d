/** What of PatternFly's description of an icon is drawn. */
interface Drawing {
  icon: { width: number; height: number; svgPathData?: unknown };
}

/** A PatternFly icon as one picture: its component draws five elements, of which the theme hides most. For long tables. */
export function LightIcon(props: { of: Drawing }): React.JSX.Element {
  const { width, height, svgPathData } = props.of.icon;
  return (
    <svg className="av-icon" viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
      <path d={String(svgPathData)} />
    </svg>
  );
}
