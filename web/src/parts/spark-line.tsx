import { type Column, SPARK, sparkPath } from '../kubevirt/figures';

/** A line without axes. `label` tells in words what it shows. */
export function SparkLine(props: { column: Column | undefined; top?: number | undefined; label: string }): React.JSX.Element {
  return (
    <svg className="av-spark" viewBox={`0 -1 ${SPARK.width} ${SPARK.height + 2}`} preserveAspectRatio="none" role="img" aria-label={props.label}>
      <path d={sparkPath(props.column ?? [], props.top)} vectorEffect="non-scaling-stroke" />
    </svg>
  );
}
