package db

import (
	"encoding/json"
	"reflect"
)

// ListJSON returns a slice as a JSON array. Engines use it for the argument of a ListTable.
func ListJSON(list any) ([]byte, error) {
	if reflect.ValueOf(list).Len() == 0 {
		return []byte("[]"), nil // a nil slice would be null, which is not an empty list
	}
	return json.Marshal(list)
}
