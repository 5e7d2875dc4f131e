/* SPDX-License-Identifier: MIT */
/* What somebody writes who takes the channels alone. */
#include "strait/channel.h"

#include <pthread.h>
#include <stdio.h>

struct order {
    uint64_t number;
    double price;
};

STRAIT_RING_TYPED(orders, strait_spsc, struct order);

static void *trade(void *channel)
{
    struct strait_sender sender;
    if (strait_sender_open(&sender, channel)) {
        return NULL;
    }
    for (uint64_t i = 1; i <= 1000; i++) {
        struct order order = {i, 0.5};
        strait_send(&sender, &order, 1, STRAIT_FOREVER);
    }
    strait_sender_close(&sender);
    return NULL;
}

int main(void)
{
    struct strait_channel_options options = {.message_size = sizeof(struct order), .capacity = 16};
    struct strait_channel *channel;
    struct strait_receiver receiver;
    struct order order;
    pthread_t trader;
    uint64_t sum = 0;
    if (strait_channel_create(&channel, &options) || strait_receiver_open(&receiver, channel) ||
        pthread_create(&trader, NULL, trade, channel)) {
        return 1;
    }
    while (strait_receive(&receiver, &order, 1, STRAIT_FOREVER) == 1) {
        sum += order.number;
    }
    pthread_join(trader, NULL);
    strait_receiver_close(&receiver);
    strait_channel_destroy(channel, NULL, NULL);
    puts(sum == 500500 ? "ok" : "wrong");
    return 0;
}
