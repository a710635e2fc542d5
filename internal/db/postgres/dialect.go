package postgres

// LockClause implements db.Engine.
func (e *engine) LockClause(clause string) string { return " " + clause }

// Clock implements db.Engine. Unlike now(), it is not the time at which the transaction began.
func (e *engine) Clock() string {
	return `CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)`
}
