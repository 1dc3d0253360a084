package kafka

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/types/known/timestamppb"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

// WriteCongestion sends scores to congestion.metrics, on the terms of statuses: it does not wait for the brokers, and what
// finds no room or cannot be delivered in time is given up, counted.
func (p *StatusProducer) WriteCongestion(all []fact.Congestion) {
	now := time.Now()
	records := make([]kgo.Record, 0, len(all))
	for i := range all {
		value, err := congestionEnvelope(&all[i]).MarshalVT()
		if err != nil {
			continue // it cannot: all of it are numbers and ids
		}
		records = append(records, kgo.Record{Topic: p.congestion, Timestamp: now, Key: congestionKey(&all[i]), Value: value})
		p.kgo.TryProduce(context.Background(), &records[len(records)-1], p.settledScore)
	}
}

// settledScore counts what became of a record.
func (p *StatusProducer) settledScore(_ *kgo.Record, err error) {
	switch {
	case err == nil:
		p.scores.Inc()
	case errors.Is(err, kgo.ErrMaxBuffered):
		p.dropped.WithLabelValues("congestion_full").Inc()
	default:
		p.dropped.WithLabelValues("congestion_late").Inc()
	}
}

// congestionKey decides what keeps its order: a zone's scores, or those of a warehouse and its lanes.
func congestionKey(c *fact.Congestion) []byte {
	if c.Of == congestion.OfZone {
		return []byte(c.ID)
	}
	return []byte(c.Shard.Warehouse)
}

func congestionEnvelope(c *fact.Congestion) *eventsv1.Envelope {
	return &eventsv1.Envelope{
		EventId: congestionEventID(c), TenantId: string(c.Shard.Tenant), WarehouseId: string(c.Shard.Warehouse),
		AggregateType: c.Of.String(), AggregateId: c.ID, Type: TopicCongestion, OccurredAt: timestamppb.New(c.At),
		Body: &eventsv1.Envelope_CongestionMetrics{CongestionMetrics: &eventsv1.CongestionMetrics{
			CongestionIndex: c.Index, RiskScore: c.Risk, Confidence: c.Confidence, Level: uint32(c.Level),
			MeanSpeedMps: c.SpeedMPS, FreeSpeedMps: c.FreeMPS, MeanSpeedRatio: c.SpeedRatio,
			QueueLength: uint32(c.Queue), Occupancy: uint32(c.Occupancy), Capacity: uint32(c.Capacity),
			Production: c.Production, WaitingShare: c.WaitingShare, Denials: uint32(c.Denials), Faulted: uint32(c.Faulted),
			Density: c.Density, CriticalDensity: c.Critical, GreatestProduction: c.Greatest,
			Inbound: uint32(c.Inbound), Entered: uint32(c.Entered), Left: uint32(c.Left),
			Trend: c.Trend, Forecast_60: c.Forecast, SettingsVersion: c.Version, MapId: string(c.Map), MapVersion: uint32(max(0, c.MapVersion)), UnderWay: c.UnderWay,
		}},
	}
}

// congestionEventID is a UUID (version 8) of what was scored when: the same bin twice has it twice.
func congestionEventID(c *fact.Congestion) string {
	b := append([]byte(c.Shard.Key()), 0, byte(c.Of))
	b = append(append(b, c.ID...), 0)
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(b, uint64(c.At.UnixMilli())))
	return uuidOf(sum)
}

// ErrNoCongestion: the message is no score.
var ErrNoCongestion = errors.New("no metrics of congestion")

// Congestion reads a message of congestion.metrics. Errors: ErrNoCongestion, or a message that cannot be read.
func Congestion(m *Message) (c fact.Congestion, err error) {
	var e eventsv1.Envelope
	if err := e.UnmarshalVT(m.Value); err != nil {
		return c, fmt.Errorf("read metrics of congestion: %w", err)
	}
	body, ok := e.GetBody().(*eventsv1.Envelope_CongestionMetrics)
	of, known := subjectOf(e.GetAggregateType())
	if !ok || !known {
		return c, ErrNoCongestion
	}
	s := body.CongestionMetrics
	return fact.Congestion{
		Shard: fleet.Shard{Tenant: fleet.TenantID(e.GetTenantId()), Warehouse: fleet.WarehouseID(e.GetWarehouseId())},
		Map:   fleet.MapID(s.GetMapId()), MapVersion: int(s.GetMapVersion()),
		Score: congestion.Score{
			Subject: congestion.Subject{Of: of, ID: e.GetAggregateId()}, At: e.GetOccurredAt().AsTime(), Version: s.GetSettingsVersion(),
			Index: s.GetCongestionIndex(), Risk: s.GetRiskScore(), Confidence: s.GetConfidence(), Level: int(s.GetLevel()),
			SpeedMPS: s.GetMeanSpeedMps(), FreeMPS: s.GetFreeSpeedMps(), SpeedRatio: s.GetMeanSpeedRatio(),
			Queue: int(s.GetQueueLength()), Occupancy: int(s.GetOccupancy()), Capacity: int(s.GetCapacity()),
			Production: s.GetProduction(), WaitingShare: s.GetWaitingShare(), Denials: int(s.GetDenials()), Faulted: int(s.GetFaulted()),
			Density: s.GetDensity(), Critical: s.GetCriticalDensity(), Greatest: s.GetGreatestProduction(),
			Inbound: int(s.GetInbound()), Entered: int(s.GetEntered()), Left: int(s.GetLeft()),
			Trend: s.GetTrend(), Forecast: s.GetForecast_60(), UnderWay: s.GetUnderWay(),
		},
	}, nil
}

func subjectOf(name string) (congestion.Of, bool) {
	for _, of := range []congestion.Of{congestion.OfZone, congestion.OfLane, congestion.OfWarehouse} {
		if of.String() == name {
			return of, true
		}
	}
	return 0, false
}
