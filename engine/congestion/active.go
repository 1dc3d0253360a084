package congestion

import "math"

// Active is how many robots of a warehouse with so many vertices may hold tasks at once. Beyond the critical density more
// robots on the road deliver less; robots without a task let themselves be pushed aside and are no traffic of their own.
// CONWIP is this for production lines (Spearman, Woodruff and Hopp 1990).
func Active(vertices int) int {
	return max(FewActive, int(math.Round(ActiveShare*float64(vertices))))
}
